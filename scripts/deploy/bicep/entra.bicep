// Both app registrations: the one that protects the endpoint, and the connector's, which may call it. Neither has a secret.
extension microsoftGraphV1

param name string
param identityPrincipalId string
param connectorRedirectUri string
param connectorIssuer string
param connectorSubject string

var scopeId = guid(name, 'user_impersonation')
var dataverse = '00000007-0000-0000-c000-000000000000' // Dynamics CRM, the same in every tenant
var dataverseImpersonation = '78ce3f0f-a1ce-49c2-8cde-64b5c0896db4' // its user_impersonation

resource connector 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: '${name}-connector'
  displayName: '${name} connector'
  signInAudience: 'AzureADMyOrg'
  api: {
    requestedAccessTokenVersion: 2
  }
  web: {
    redirectUris: empty(connectorRedirectUri) ? [] : [connectorRedirectUri]
    implicitGrantSettings: {
      enableAccessTokenIssuance: false
      enableIdTokenIssuance: false
    }
  }

  resource credential 'federatedIdentityCredentials@v1.0' = if (!empty(connectorIssuer)) {
    name: '${name}-connector/power-platform'
    description: 'The managed identity that Power Platform has for the custom connector'
    audiences: ['api://AzureADTokenExchange']
    issuer: connectorIssuer
    subject: connectorSubject
  }
}

resource api 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: '${name}-api'
  displayName: name
  signInAudience: 'AzureADMyOrg'
  identifierUris: ['api://${tenant().tenantId}/${name}']
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: [
      {
        id: scopeId
        value: 'user_impersonation'
        type: 'User'
        isEnabled: true
        adminConsentDisplayName: 'Close opportunities as the signed-in user'
        adminConsentDescription: 'Allows the application to close and reopen opportunities with the rights of the signed-in user.'
        userConsentDisplayName: 'Close opportunities for you'
        userConsentDescription: 'Allows the application to close and reopen opportunities with your rights.'
      }
    ]
    preAuthorizedApplications: [
      {
        appId: connector.appId
        delegatedPermissionIds: [scopeId]
      }
    ]
  }
  appRoles: [
    {
      id: guid(name, 'Opportunities.Close')
      value: 'Opportunities.Close'
      displayName: 'Close opportunities'
      description: 'Applications that close opportunities as the endpoint itself.'
      allowedMemberTypes: ['Application']
      isEnabled: true
    }
    {
      id: guid(name, 'Operations.Manage')
      value: 'Operations.Manage'
      displayName: 'Manage operations'
      description: 'Those who see and manage the operations of everybody.'
      allowedMemberTypes: ['User', 'Application']
      isEnabled: true
    }
  ]
  optionalClaims: {
    accessToken: [
      {
        name: 'idtyp'
        essential: false
      }
    ]
  }
  requiredResourceAccess: [
    {
      resourceAppId: dataverse
      resourceAccess: [
        {
          id: dataverseImpersonation
          type: 'Scope'
        }
      ]
    }
  ]

  resource credential 'federatedIdentityCredentials@v1.0' = {
    name: '${name}-api/managed-identity'
    description: 'The endpoint\'s managed identity stands in for a secret'
    audiences: ['api://AzureADTokenExchange']
    issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
    subject: identityPrincipalId
  }
}

resource apiPrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: api.appId
}

resource connectorPrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: connector.appId
}

output apiClientId string = api.appId
output audience string = 'api://${tenant().tenantId}/${name}'
output connectorClientId string = connector.appId
